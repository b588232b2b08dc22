package main

import "testing"

// small is a world that every engine answers within a second.
var small = size{members: 60, roles: 12, each: 3, permissions: 20, queries: 300}

func startEngine(t *testing.T, p peer, w *world) engine {
	t.Helper()
	e, err := p.start(w)
	if err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	t.Cleanup(e.Close)
	return e
}

func peerOf(t *testing.T, name string) peer {
	t.Helper()
	for _, p := range peers() {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("no peer %s", name)
	return peer{}
}
