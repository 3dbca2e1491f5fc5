package cgroup

import (
	"errors"
	"math"
	"strconv"
)

// Weight converts cpu.shares (2 to 262144, default 1024) to cpu.weight (1 to
// 10000, default 100).
//
// Both scales are meant logarithmically, so the conversion maps the logs: a
// quadratic through the two ends and the two defaults. It is the one that
// runc 1.3.2 and crun 1.23 changed to; before, both drew a straight line,
// 1+((shares-2)*9999)/262142, which made 39 of the default and so put a
// default container far behind its neighbours. 0 means "not set" for both.
func Weight(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// ioWeight converts blkio.weight (10 to 1000) to io.weight (1 to 10000): a
// straight line, as the OCI specification's implementations draw it.
func ioWeight(v1 uint16) uint64 {
	if v1 < 10 {
		return 1
	}
	return 1 + (uint64(v1)-10)*9999/990
}

var (
	errSwapAlone = errors.New("a swap limit needs a memory limit")
	errSwapSmall = errors.New("memory and swap together are less than memory alone")
)

// swapMax converts the limit of memory and swap together (OCI, version 1) to
// that of swap alone (version 2). -1 is no limit.
func swapMax(both, memory int64) (int64, error) {
	switch {
	case both < 0:
		return -1, nil
	case memory <= 0:
		return 0, errSwapAlone
	case both < memory:
		return 0, errSwapSmall
	}
	return both - memory, nil
}

// limit writes a number for version 2, which calls none "max".
func limit(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}
