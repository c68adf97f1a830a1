// Generated from workloadapi.proto by `npm run gen`. Do not edit.

export interface X509BundlesRequest {
}

export interface X509BundlesRequest__Output {
}
