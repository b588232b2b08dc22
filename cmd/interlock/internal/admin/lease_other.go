//go:build !linux

package admin

import "syscall"

// inOwnGroup makes a process group of the command.
func inOwnGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
