// Command interlock-lab tests APIs for races between check and use, and measures interlock. See `interlock-lab help`.
package main

import (
	"os"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/cmd/internal/lab"
)

func main() { os.Exit(cli.Run(lab.Command(), os.Args[1:], os.Stdout, os.Stderr)) }
