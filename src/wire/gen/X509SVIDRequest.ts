// Generated from workloadapi.proto by `npm run gen`. Do not edit.

export interface X509SVIDRequest {
}

export interface X509SVIDRequest__Output {
}
