package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"minict/runtime/cgroup"
	containers "minict/runtime/oci"
)

// event is a line of what events prints.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

// metrics are those of a cgroup, and what else runc has there.
type metrics struct {
	*cgroup.Metrics
	IntelRdt struct{}   `json:"intel_rdt"`
	Networks []struct{} `json:"network_interfaces"`
}

func (a *app) events(f *flags) func([]string) error {
	every := "5s"
	var once bool
	f.text(&every, "interval", "", every, "`time` between two measurements (default 5s)")
	f.bool(&once, "stats", "", "measure once")
	return func(args []string) error {
		interval, err := time.ParseDuration(every)
		if err != nil || interval <= 0 {
			return fmt.Errorf("--interval %q is no time", every)
		}
		c, err := a.container(args[0])
		if err != nil {
			return err
		}
		if once {
			m, _, err := c.Metrics()
			if err != nil {
				return err
			}
			return json.NewEncoder(a.Out).Encode(event{"stats", c.ID, metrics{Metrics: m}})
		}
		return a.tell(c, interval)
	}
}

// tell measures again and again, until the container has stopped.
func (a *app) tell(c *containers.Container, interval time.Duration) error {
	out := json.NewEncoder(a.Out)
	for kills := uint64(0); ; {
		m, now, err := c.Metrics()
		if errors.Is(err, containers.ErrNotRunning) {
			return nil
		}
		if err != nil {
			return err
		}
		if now > kills {
			kills = now
			if err := out.Encode(event{Type: "oom", ID: c.ID}); err != nil {
				return err
			}
		}
		if err := out.Encode(event{"stats", c.ID, metrics{Metrics: m}}); err != nil {
			return err
		}
		time.Sleep(interval)
	}
}
