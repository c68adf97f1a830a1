import type { ServiceName } from './ports.ts';

/** The trust domain of a mesh that nobody else should trust (RFC 2606). */
export const TRUST_DOMAIN = 'example.org';
export const NAMESPACE = 'shop';

/** What the demo allows; web → payments is missing on purpose: what no rule allows is denied. */
export const demoPolicies: readonly { readonly name: string; readonly source: string }[] = [
  {
    name: 'orders',
    source: allow('orders', 'web', '# web may read from orders.', '["GET"]', '["/*"]'),
  },
  {
    name: 'payments',
    source: allow(
      'payments',
      'orders',
      '# orders may charge. Nobody else: add web here, and see its calls pass.',
      '["GET", "POST"]',
      '["/charge"]',
    ),
  },
];

function allow(service: ServiceName, caller: ServiceName, comment: string, methods: string, paths: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ${service}
  namespace: ${NAMESPACE}
spec:
  selector:
    matchLabels:
      app: ${service}
  action: ALLOW
  rules:
    ${comment}
    - from:
        - source:
            principals: ["${TRUST_DOMAIN}/ns/${NAMESPACE}/sa/${caller}"]
      to:
        - operation:
            methods: ${methods}
            paths: ${paths}
`;
}
