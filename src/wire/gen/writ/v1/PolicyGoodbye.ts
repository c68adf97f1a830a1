// Generated from policy.proto by `npm run gen`. Do not edit.

export interface PolicyGoodbye {
}

export interface PolicyGoodbye__Output {
}
