// Package conformance runs the Gateway API's own conformance tests for meshes, all of them, against the cluster of KUBECONFIG.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

func TestMesh(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.NamespaceLabels = map[string]string{"weft.dev/inject": "enabled"}
	options.ConformanceProfiles = []suite.ConformanceProfileName{suite.MeshHTTPConformanceProfileName, suite.MeshGRPCConformanceProfileName}
	for feature := range features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures) {
		options.SupportedFeatures = append(options.SupportedFeatures, feature)
	}
	// What the mesh's tests ask of routes beside that.
	options.SupportedFeatures = append(options.SupportedFeatures,
		features.SupportHTTPRouteResponseHeaderModification,
		features.SupportHTTPRouteParentRefPort,
		features.SupportHTTPRoute303RedirectStatusCode,
		features.SupportHTTPRoute307RedirectStatusCode,
		features.SupportHTTPRoute308RedirectStatusCode,
	)
	options.Implementation = confv1.Implementation{
		Organization: "weft-mesh",
		Project:      "weft",
		URL:          "https://github.com/weft-mesh/weft",
		Version:      "v0.1.0",
		Contact:      []string{"https://github.com/weft-mesh/weft/issues"},
	}
	conformance.RunConformanceWithOptions(t, options)
}
