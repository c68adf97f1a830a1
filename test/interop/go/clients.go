//go:build clients

// Package interop pins what test/interop/install builds: the example programs of go-spiffe, as their authors wrote them.
package interop

import (
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-grpc/client"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-grpc/server"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-http/client"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-http/server"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-jwt/client"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-jwt/server"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-tls/client"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-tls/server"
	_ "github.com/spiffe/go-spiffe/v2/examples/spiffe-watcher"
)
