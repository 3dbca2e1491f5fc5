package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/pflag"
)

// logFlags say what is logged, how, and where. Without a level nothing is.
type logFlags struct {
	level, format, file string

	logger *slog.Logger
	opened *os.File
}

func (l *logFlags) register(f *pflag.FlagSet) {
	f.StringVar(&l.level, "log-level", "", "log from this `level` on: debug, info, warn, error (default: nothing)")
	f.StringVar(&l.format, "log-format", "text", "`form` of the log: text or json")
	f.StringVar(&l.file, "log-file", "", "`file` to append the log to (default: standard error)")
}

func (l *logFlags) open(stderr io.Writer) (*slog.Logger, error) {
	if l.format != "text" && l.format != "json" {
		return nil, fmt.Errorf("--log-format: %q is neither text nor json", l.format)
	}
	if l.level == "" && l.file == "" {
		return slog.New(slog.DiscardHandler), nil
	}
	var level slog.Level
	if l.level != "" {
		if err := level.UnmarshalText([]byte(l.level)); err != nil {
			return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", l.level)
		}
	}
	if l.file != "" {
		f, err := os.OpenFile(l.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("--log-file: %w", err)
		}
		l.opened, stderr = f, f
	}
	options := &slog.HandlerOptions{Level: level}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(stderr, options)), nil
	}
	return slog.New(slog.NewTextHandler(stderr, options)), nil
}

func (l *logFlags) close() {
	if l.opened != nil {
		l.opened.Close()
	}
}
