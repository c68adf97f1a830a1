"""A program as its author would write it with the SPIFFE library for Python: what it gets, it prints, one JSON object a line."""

import json
import sys

from spiffe import JwtSource, WorkloadApiClient, X509Source


def say(what, **fields):
    print(json.dumps({"what": what, **fields}), flush=True)


def serial(svid):
    return format(svid.leaf.serial_number, "x")


def once(socket):
    """Every call of the client, and both sources."""
    client = WorkloadApiClient(socket)
    say("x509", ids=[str(svid.spiffe_id) for svid in client.fetch_x509_svids()])
    say("default", id=str(client.fetch_x509_svid().spiffe_id))
    context = client.fetch_x509_context()
    chain = context.default_svid.cert_chain
    domain = context.default_svid.spiffe_id.trust_domain
    roots = context.x509_bundle_set.get_bundle_for_trust_domain(domain).x509_authorities
    chain[-1].verify_directly_issued_by(next(iter(roots)))
    chain[0].verify_directly_issued_by(chain[1])
    say("context", chain=len(chain), roots=len(roots))
    say("bundles", domains=[str(bundle.trust_domain) for bundle in client.fetch_x509_bundles().bundles])

    token = client.fetch_jwt_svid({"payments", "ledger"})
    say("jwt", id=str(token.spiffe_id), audience=sorted(token.audience))
    say("validated", id=str(client.validate_jwt_svid(token.token, "ledger").spiffe_id))
    try:
        client.validate_jwt_svid(token.token, "somebody-else")
    except Exception as error:
        say("refused", error=str(error))
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain).jwt_authorities
    say("keys", count=len(keys))

    with X509Source(socket_path=socket) as source:
        say("x509-source", id=str(source.get_x509_context().default_svid.spiffe_id))
    with JwtSource(socket_path=socket) as source:
        fetched = source.fetch_svid({"payments"})
        known = source.get_bundle_for_trust_domain(domain).jwt_authorities
        say("jwt-source", id=str(fetched.spiffe_id), keys=len(known))


def watch(socket):
    """Follows what changes, until it is ended."""
    with X509Source(socket_path=socket) as source:
        def updated():
            svid = source.get_x509_context().default_svid
            say("update", id=str(svid.spiffe_id), serial=serial(svid))

        updated()
        source.subscribe_for_updates(updated)
        sys.stdin.read()


def denied(socket):
    try:
        WorkloadApiClient(socket).fetch_x509_svid(timeout=5)
    except Exception as error:
        say("denied", error=str(error))


{"once": once, "watch": watch, "denied": denied}[sys.argv[1]](sys.argv[2])
