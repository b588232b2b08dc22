// Command interlock serves and administers the interlock authorization engine. See `interlock help`.
package main

import (
	"os"

	"github.com/interlock-authz/interlock/cmd/internal/cli"
)

func main() { os.Exit(cli.Run(rootCommand(), os.Args[1:], os.Stdout, os.Stderr)) }
