package admin

import "syscall"

// inOwnGroup makes a process group of the command, and kills the command if this process dies.
func inOwnGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
