//go:build tools

// Package binaries pins helm for the chart's tests.
package binaries

import _ "helm.sh/helm/v4/cmd/helm"
