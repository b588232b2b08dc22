// Command interlock runs and administers an authorization engine in which check and use
// cannot be torn apart. See `interlock help`.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
