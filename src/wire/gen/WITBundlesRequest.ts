// Generated from workloadapi.proto by `npm run gen`. Do not edit.

export interface WITBundlesRequest {
}

export interface WITBundlesRequest__Output {
}
