package cgroup

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func (w *writer) blockIO(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	limits := len(b.WeightDevice) + len(b.ThrottleReadBpsDevice) + len(b.ThrottleWriteBpsDevice) +
		len(b.ThrottleReadIOPSDevice) + len(b.ThrottleWriteIOPSDevice)
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		w.fail("block io leaf weight: no Linux since 5.0 has it")
	}
	weighted := b.Weight != nil && *b.Weight != 0
	if limits == 0 && !weighted {
		return
	}
	v2, ok := w.version(IO, "block io limit")
	if !ok {
		return
	}
	if weighted {
		w.ioWeight(v2, "", *b.Weight)
	}
	for _, d := range b.WeightDevice {
		if d.LeafWeight != nil && *d.LeafWeight != 0 {
			w.fail("block io leaf weight: no Linux since 5.0 has it")
		}
		if d.Weight != nil && *d.Weight != 0 {
			w.ioWeight(v2, fmt.Sprintf("%d:%d ", d.Major, d.Minor), *d.Weight)
		}
	}
	w.throttle(v2, "blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice)
	w.throttle(v2, "blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice)
	w.throttle(v2, "blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice)
	w.throttle(v2, "blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice)
}

// ioWeight writes a weight, for all devices or for one ("8:0 "). The BFQ
// scheduler has a file of its own and takes the numbers of version 1.
func (w *writer) ioWeight(v2 bool, device string, weight uint16) {
	const what, why = "block io share", "its share when a disk is short of time"
	value := device + strconv.Itoa(int(weight))
	switch {
	case v2:
		x := w.add(IO, "io.bfq.weight", value, what, why)
		x.orElse("io.weight", device+strconv.FormatUint(ioWeight(weight), 10))
	case device != "":
		w.add(IO, "blkio.bfq.weight_device", value, what, why).orElse("blkio.weight_device", value)
	default:
		w.add(IO, "blkio.bfq.weight", value, what, why).orElse("blkio.weight", value)
	}
}

// throttle writes one rate per device; 0 takes a limit away.
func (w *writer) throttle(v2 bool, file, key string, list []specs.LinuxThrottleDevice) {
	const why = "per second, and not more"
	for _, d := range list {
		rate := strconv.FormatUint(d.Rate, 10)
		if !v2 {
			w.add(IO, file, fmt.Sprintf("%d:%d %s", d.Major, d.Minor, rate), "block io rate", why)
			continue
		}
		if d.Rate == 0 {
			rate = "max"
		}
		w.add(IO, "io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, key, rate), "block io rate", why)
	}
}
