/** The text of a policy that allows or denies GET on a path in namespace `shop`. */
export function document(
  name: string,
  path: string,
  o: { readonly namespace?: string; readonly spec?: string } = {},
): string {
  return `apiVersion: writ.dev/v1
kind: AuthorizationPolicy
metadata:
  name: ${name}
  namespace: ${o.namespace ?? 'shop'}
spec:
  action: ALLOW
${o.spec ?? ''}  rules:
  - to:
    - operation:
        paths: ["${path}"]
`;
}
