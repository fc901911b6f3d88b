//go:build modules

// Package kube pins what the tests' clusters are made of; the `tool` lines of go.mod name the programs. Of the Gateway API the
// definitions of its kinds are read, and the manifests and requests of its conformance tests.
package kube

import (
	_ "sigs.k8s.io/gateway-api/apis/v1"
	_ "sigs.k8s.io/gateway-api/conformance"
)
