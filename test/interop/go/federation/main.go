// Asks a bundle endpoint as go-spiffe's federation client does, and prints the bundle; or serves one with its handler.
//
//	federation fetch TRUST_DOMAIN URL (web CA_FILE | spiffe ENDPOINT_ID BUNDLE_FILE)
//	federation serve TRUST_DOMAIN BUNDLE_FILE CERTIFICATE_FILE KEY_FILE
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func main() {
	log.SetFlags(0)
	td := spiffeid.RequireTrustDomainFromString(os.Args[2])
	switch os.Args[1] {
	case "fetch":
		fetch(td, os.Args[3], os.Args[4:])
	case "serve":
		serve(td, os.Args[3], os.Args[4], os.Args[5])
	}
}

func fetch(td spiffeid.TrustDomain, url string, auth []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	bundle, err := federation.FetchBundle(ctx, td, url, option(auth))
	if err != nil {
		log.Fatal(err)
	}
	text, err := bundle.Marshal()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
}

func option(auth []string) federation.FetchOption {
	if auth[0] == "web" {
		pem, err := os.ReadFile(auth[1])
		if err != nil {
			log.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		return federation.WithWebPKIRoots(roots)
	}
	id := spiffeid.RequireFromString(auth[1])
	bundle, err := spiffebundle.Load(id.TrustDomain(), auth[2])
	if err != nil {
		log.Fatal(err)
	}
	return federation.WithSPIFFEAuth(bundle, id)
}

func serve(td spiffeid.TrustDomain, bundleFile, certificateFile, keyFile string) {
	bundle, err := spiffebundle.Load(td, bundleFile)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := federation.NewHandler(td, bundle)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, handler))
}
