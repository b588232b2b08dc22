package bench

import "testing"

func BenchmarkDurable1(b *testing.B)   { benchmark(b, durableSide(1)) }
func BenchmarkDurable16(b *testing.B)  { benchmark(b, durableSide(16)) }
func BenchmarkDurable256(b *testing.B) { benchmark(b, durableSide(256)) }
func BenchmarkPebble1(b *testing.B)    { benchmark(b, pebbleSide(1)) }
func BenchmarkPebble16(b *testing.B)   { benchmark(b, pebbleSide(16)) }
func BenchmarkPebble256(b *testing.B)  { benchmark(b, pebbleSide(256)) }
