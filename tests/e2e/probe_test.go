package e2e

import (
	"debug/elf"
	"fmt"
	"net"
	"os"
	"time"
)

// probeWord as the first argument makes this program one that runs in a
// container, and does what busybox can't: packets of UDP.
const probeWord = "probe"

// probe answers packets with themselves, or sends one and prints the answer.
func probe(args []string) int {
	do := map[string]func(address string) error{"echo": probeEcho, "ask": probeAsk}[args[0]]
	if err := do(args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		return 1
	}
	return 0
}

func probeEcho(address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}

func probeAsk(address string) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := ask(c)
	fmt.Println(answer)
	return err
}

// ask sends a packet and gives the answer, from where it was sent to.
func ask(c net.Conn) (string, error) {
	if _, err := fmt.Fprint(c, "hello"); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// probeProgram is this program, which has to run in containers, where no
// libraries are.
func probeProgram() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	program, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer program.Close()
	if program.Section(".interp") != nil {
		return "", fmt.Errorf("the tests have to be built with CGO_ENABLED=0: they run in containers too")
	}
	return path, nil
}
