//go:build tools

// Package binaries pins Prometheus for e2e and the demo.
package binaries

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
