package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// ErrNotRunning says that this machine is not run by systemd.
var ErrNotRunning = errors.New("systemd does not run here: leave --systemd-cgroup out")

// Manager is a connection to systemd. Close it after use.
type Manager struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
}

const (
	object  = dbus.ObjectPath("/org/freedesktop/systemd1")
	manager = "org.freedesktop.systemd1.Manager."
	noSuch  = "org.freedesktop.systemd1.NoSuchUnit"

	replacing = "replace" // job mode: the unit's other jobs are given up
)

// Connect connects to the machine's systemd, or, for an ordinary user, to the
// user's own.
func Connect() (*Manager, error) {
	if _, err := os.Lstat("/run/systemd/system"); err != nil { // sd_booted(3)
		return nil, ErrNotRunning
	}
	socket := "/run/systemd/private"
	if os.Geteuid() != 0 {
		socket = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd/private")
	}
	return dial(socket)
}

func dial(socket string) (*Manager, error) {
	conn, err := dbus.Dial("unix:path=" + socket)
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	// The socket is no bus: there is nobody to say hello to, and signals come
	// without asking.
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to systemd: %w", err), conn.Close())
	}
	m := &Manager{conn: conn, signals: make(chan *dbus.Signal, 64)}
	conn.Signal(m.signals)
	return m, nil
}

// Close ends the connection; the units stay.
func (m *Manager) Close() error { return m.conn.Close() }

// Start makes the scope with the process pid in it, and waits until systemd has
// moved it there.
func (m *Manager) Start(ctx context.Context, s Scope, pid int, limits []Property) error {
	properties := append([]Property{
		{"Description", dbus.MakeVariant("container of minict")},
		{"Slice", dbus.MakeVariant(s.Slice)},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(pid)})},
		{"Delegate", dbus.MakeVariant(true)},
		{"DefaultDependencies", dbus.MakeVariant(false)}, // it is stopped by whoever runs it
		{"MemoryAccounting", dbus.MakeVariant(true)},
		{"CPUAccounting", dbus.MakeVariant(true)},
		{"IOAccounting", dbus.MakeVariant(true)},
		{"TasksAccounting", dbus.MakeVariant(true)},
	}, limits...)
	// What ended badly before is still known by its name.
	_ = m.call(ctx, nil, "ResetFailedUnit", s.Unit)
	if err := m.job(ctx, "StartTransientUnit", s.Unit, replacing, properties, []auxiliary{}); err != nil {
		return fmt.Errorf("start %s: %w", s.Unit, err)
	}
	return nil
}

// Limit changes the scope's limits, so that systemd does not set the old ones
// again when it is reloaded.
func (m *Manager) Limit(ctx context.Context, s Scope, limits []Property) error {
	if len(limits) == 0 {
		return nil
	}
	const runtime = true // forgotten with the unit
	if err := m.call(ctx, nil, "SetUnitProperties", s.Unit, runtime, limits); err != nil {
		return fmt.Errorf("limit %s: %w", s.Unit, err)
	}
	return nil
}

// Stop ends the scope, if it is there: systemd kills what is left in it, and
// removes its cgroup.
func (m *Manager) Stop(ctx context.Context, s Scope) error {
	err := m.job(ctx, "StopUnit", s.Unit, replacing)
	var refused dbus.Error
	if err != nil && !(errors.As(err, &refused) && refused.Name == noSuch) {
		return fmt.Errorf("stop %s: %w", s.Unit, err)
	}
	_ = m.call(ctx, nil, "ResetFailedUnit", s.Unit) // most often there is nothing to forget
	return nil
}

func (m *Manager) call(ctx context.Context, result any, method string, args ...any) error {
	call := m.conn.Object("org.freedesktop.systemd1", object).CallWithContext(ctx, manager+method, 0, args...)
	if result == nil {
		return call.Err
	}
	return call.Store(result)
}

// job calls a method that begins a job, and waits for its end.
func (m *Manager) job(ctx context.Context, method string, args ...any) error {
	var job dbus.ObjectPath
	if err := m.call(ctx, &job, method, args...); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case signal, open := <-m.signals:
			if !open {
				return errors.New("systemd has closed the connection")
			}
			var id uint32
			var path dbus.ObjectPath
			var unit, result string
			if signal.Name != manager+"JobRemoved" || dbus.Store(signal.Body, &id, &path, &unit, &result) != nil || path != job {
				continue
			}
			if result != "done" {
				return fmt.Errorf("systemd says: %s", result)
			}
			return nil
		}
	}
}

// Property is a setting of a unit, org.freedesktop.systemd1(5).
type Property struct {
	Name  string
	Value dbus.Variant
}

// auxiliary is a further unit that StartTransientUnit could make.
type auxiliary struct {
	Name       string
	Properties []Property
}
