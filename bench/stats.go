package bench

import (
	"runtime"
	"slices"
)

func maxProcs() int { return runtime.GOMAXPROCS(0) }

// interval is a median with its 95 % confidence interval, by order statistics of the
// binomial distribution: no assumption is made about the shape of the noise.
type interval struct{ low, median, high float64 }

func medianInterval(values []float64) interval {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	median := v[n/2]
	if n%2 == 0 {
		median = (v[n/2-1] + v[n/2]) / 2
	}
	k := rankOf95(n)
	return interval{v[k], median, v[n-1-k]}
}

// rankOf95 is the greatest k such that the k-th smallest and the k-th greatest of n
// values, counted from 0, enclose the median with a probability of at least 0.95.
func rankOf95(n int) int {
	p := 1.0
	for range n {
		p /= 2
	}
	tail, k := 0.0, 0
	for i := 0; i < n/2; i++ {
		tail += p
		if 2*tail > 0.05 {
			break
		}
		k = i + 1
		p = p * float64(n-i) / float64(i+1)
	}
	return max(0, min(k, n/2-1))
}
