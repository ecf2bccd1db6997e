// Evaluates a flag by the engine of the flagd server (github.com/open-feature/flagd/core/pkg/evaluator).
//
// Arguments: the flag definition's file, the flag's key. Standard input: an evaluation context in JSON a line. Standard
// output: a line for each, {"variant", "value", "reason", "error"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/open-feature/flagd/core/pkg/evaluator"
	"github.com/open-feature/flagd/core/pkg/logger"
	"github.com/open-feature/flagd/core/pkg/store"
	"github.com/open-feature/flagd/core/pkg/sync"
	"go.uber.org/zap"
)

type answer struct {
	Variant string `json:"variant"`
	Value   string `json:"value"`
	Reason  string `json:"reason"`
	Error   string `json:"error"`
}

func run(file, key string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	engine := evaluator.NewJSON(logger.NewLogger(zap.NewNop(), false), store.NewFlags())
	if _, _, err := engine.SetState(sync.DataSync{FlagData: string(text), Source: file}); err != nil {
		return err
	}
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var given map[string]any
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			return err
		}
		value, variant, reason, _, err := engine.ResolveStringValue(context.Background(), "", key, given)
		said := answer{Variant: variant, Value: value, Reason: reason}
		if err != nil {
			said.Error = err.Error()
		}
		if err := answers.Encode(said); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: flagd-evaluator FILE FLAG <contexts")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
