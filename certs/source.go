package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"sync"
)

// Material is the certificate of a server and the trust anchors of its clients.
type Material struct {
	// Certificate is the server's certificate and key; zero if the source has none.
	Certificate tls.Certificate
	// TrustAnchors are those of clients; nil if the source has none.
	TrustAnchors *TrustAnchors
}

// Sum is a hash of the certificates and of what the CAs may certify.
func (m Material) Sum() [sha256.Size]byte {
	h := sha256.New()
	for _, der := range m.Certificate.Certificate {
		fmt.Fprintf(h, "%x\n", sha256.Sum256(der))
	}
	if m.TrustAnchors != nil {
		for _, cert := range m.TrustAnchors.all {
			fmt.Fprintf(h, "%x %+v\n", sha256.Sum256(cert.Raw), *m.TrustAnchors.boundsOf(cert))
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Source provides material: files ([Files]), a Workload API (package workload), or several sources ([Join]). It is safe
// for concurrent use.
type Source interface {
	// Load returns the current material, checked, or an error that says what is wrong with it.
	Load() (Material, error)
	// Watch calls changed once when it has started, and then whenever Load may return something else, one call at a
	// time, until ctx is done. Problems of watching are errors of Load.
	Watch(ctx context.Context, changed func())
}

// Files is a [Source] of PEM files. The zero value has nothing.
type Files struct {
	// Certificate and Key are read by [LoadKeyPair]. Both may be empty.
	Certificate, Key string
	// TrustAnchors are read by [LoadTrustAnchors]; may be empty.
	TrustAnchors []Binding
}

// Load implements [Source].
func (f Files) Load() (m Material, err error) {
	if f.Certificate != "" || f.Key != "" {
		if m.Certificate, err = LoadKeyPair(f.Certificate, f.Key); err != nil {
			return Material{}, err
		}
	}
	if len(f.TrustAnchors) > 0 {
		if m.TrustAnchors, err = LoadTrustAnchors(f.TrustAnchors...); err != nil {
			return Material{}, err
		}
	}
	return m, nil
}

// Watch implements [Source], by [WatchFiles].
func (f Files) Watch(ctx context.Context, changed func()) {
	var paths []string
	if f.Certificate != "" {
		paths = append(paths, f.Certificate, f.Key)
	}
	for _, b := range f.TrustAnchors {
		paths = append(paths, b.File)
	}
	WatchFiles(ctx, paths, changed)
}

// Join returns a source with the certificate of the first source that has one, and the trust anchors of all.
func Join(sources ...Source) Source { return joined(sources) }

type joined []Source

func (j joined) Load() (Material, error) {
	var all Material
	for _, source := range j {
		m, err := source.Load()
		if err != nil {
			return Material{}, err
		}
		if all.Certificate.Certificate == nil {
			all.Certificate = m.Certificate
		}
		all.TrustAnchors = all.TrustAnchors.with(m.TrustAnchors)
	}
	return all, nil
}

func (j joined) Watch(ctx context.Context, changed func()) {
	var (
		wake = make(chan struct{}, 1)
		all  sync.WaitGroup
	)
	for _, source := range j {
		all.Go(func() {
			source.Watch(ctx, func() {
				select {
				case wake <- struct{}{}:
				default: // a load is pending already
				}
			})
		})
	}
	for ctx.Err() == nil {
		select {
		case <-wake:
			changed()
		case <-ctx.Done():
		}
	}
	all.Wait()
}
