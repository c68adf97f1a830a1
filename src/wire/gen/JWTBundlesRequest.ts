// Generated from workloadapi.proto by `npm run gen`. Do not edit.

export interface JWTBundlesRequest {
}

export interface JWTBundlesRequest__Output {
}
