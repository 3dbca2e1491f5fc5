package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// logger tells of errors: on standard error, and in the file that the engine
// reads, which looks there for lines with the level error.
type logger struct {
	to    *os.File // standard error
	file  *os.File // nil without --log
	json  bool
	debug bool
}

// open begins to log as the flags say.
func (l *logger) open(file, format string) error {
	switch format {
	case "text":
	case "json":
		l.json = true
	default:
		return fmt.Errorf("--log-format %q is neither text nor json", format)
	}
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	l.file = f
	return nil
}

func (l *logger) close() {
	if l.file != nil {
		l.file.Close()
	}
}

func (l *logger) error(err error) {
	message := strings.ReplaceAll(err.Error(), "\n", "; ")
	if l.file == nil && l.json {
		l.write(l.to, "error", message)
		return
	}
	fmt.Fprintf(l.to, "%s: %s\n", Name, message)
	if l.file != nil {
		l.write(l.file, "error", message)
	}
}

func (l *logger) warn(err error) {
	to := l.file
	if to == nil {
		to = l.to
	}
	l.write(to, "warning", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// note is for the log file, and for who wants to know all.
func (l *logger) note(text string) {
	if l.file != nil || l.debug {
		l.warn(errors.New(text))
	}
}

// line is a line of the log.
type line struct {
	Level   string    `json:"level"`
	Message string    `json:"msg"`
	Time    time.Time `json:"time"`
}

func (l *logger) write(to *os.File, level, message string) {
	now := time.Now().UTC().Truncate(time.Second)
	if !l.json {
		fmt.Fprintf(to, "time=%q level=%s msg=%q\n", now.Format(time.RFC3339), level, message)
		return
	}
	data, err := json.Marshal(line{level, message, now})
	if err == nil {
		to.Write(append(data, '\n'))
	}
}
