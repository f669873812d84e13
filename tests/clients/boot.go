// SPDX-License-Identifier: MIT

// Boots a guest by Firecracker's Go SDK, as its users do: a machine of a kernel, disks, one NIC, vsock and a balloon, which is
// paused, resumed, asked, saved, and shut down by Ctrl-Alt-Del.  With -load it goes on from what another of these has saved.
//
// It is told what to do a line at a time ("start", "pause", "resume", "state", "balloon MIB", "disk ID PATH", "version",
// "save MEM STATE", "shutdown", "stop", "wait") on its standard input, and answers each with "ok TEXT" or "error TEXT".
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	firecracker "github.com/firecracker-microvm/firecracker-go-sdk"
	"github.com/firecracker-microvm/firecracker-go-sdk/client/models"
	"github.com/sirupsen/logrus"
)

type list []string

func (l *list) String() string         { return strings.Join(*l, " ") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

var (
	binary  = flag.String("bin", "firecracker", "the VMM")
	console = flag.String("console", "console", "a file for what the guest writes")
	load    = flag.String("load", "", "MEM,STATE: what was saved")
	resume  = flag.Bool("resume", false, "and it runs at once")
	args    list
)

func config() firecracker.Config {
	var disks list
	socket := flag.String("socket", "sdk.sock", "its socket")
	kernel := flag.String("kernel", "", "the kernel")
	initrd := flag.String("initrd", "", "its initramfs")
	words := flag.String("append", "console=ttyS0 noapic reboot=k panic=1 pci=off nomodules", "its command line")
	tap := flag.String("tap", "tap0", "the TAP")
	mac := flag.String("mac", "52:54:00:00:00:02", "the NIC's address")
	vsock := flag.String("vsock", "", "vsock's socket")
	cpus := flag.Int64("cpus", 1, "processors")
	mib := flag.Int64("mib", 256, "memory")
	flag.Var(&args, "arg", "one more for the VMM")
	flag.Var(&disks, "disk", "a disk; the first is the root")
	flag.Parse()

	c := firecracker.Config{
		SocketPath:      *socket,
		LogPath:         *socket + ".log",
		MetricsPath:     *socket + ".metrics",
		LogLevel:        "Info",
		KernelImagePath: *kernel,
		InitrdPath:      *initrd,
		KernelArgs:      *words,
		NetworkInterfaces: firecracker.NetworkInterfaces{{
			StaticConfiguration: &firecracker.StaticNetworkConfiguration{MacAddress: *mac, HostDevName: *tap},
		}},
		MachineCfg: models.MachineConfiguration{
			VcpuCount:  firecracker.Int64(*cpus),
			MemSizeMib: firecracker.Int64(*mib),
			Smt:        firecracker.Bool(false),
		},
	}
	for i, path := range disks {
		c.Drives = append(c.Drives, models.Drive{
			DriveID:      firecracker.String(fmt.Sprintf("disk%d", i)),
			PathOnHost:   firecracker.String(path),
			IsRootDevice: firecracker.Bool(i == 0),
			IsReadOnly:   firecracker.Bool(false),
		})
	}
	if *vsock != "" {
		c.VsockDevices = []firecracker.VsockDevice{{ID: "vsock", Path: *vsock, CID: 3}}
	}
	return c
}

func do(ctx context.Context, m *firecracker.Machine, verb []string) (string, error) {
	switch verb[0] {
	case "start":
		return "", m.Start(ctx)
	case "pause":
		return "", m.PauseVM(ctx)
	case "resume":
		return "", m.ResumeVM(ctx)
	case "save":
		return "", m.CreateSnapshot(ctx, verb[1], verb[2])
	case "version":
		return m.GetFirecrackerVersion(ctx)
	case "state":
		info, err := m.DescribeInstanceInfo(ctx)
		if err != nil {
			return "", err
		}
		return *info.State, nil
	case "balloon":
		mib, err := strconv.ParseInt(verb[1], 10, 64)
		if err != nil {
			return "", err
		}
		return "", m.UpdateBalloon(ctx, mib)
	case "disk":
		return "", m.UpdateGuestDrive(ctx, verb[1], verb[2])
	case "shutdown":
		return "", m.Shutdown(ctx)
	case "stop":
		return "", m.StopVMM()
	case "wait":
		return "", m.Wait(ctx)
	}
	return "", fmt.Errorf("no verb %s", verb[0])
}

func run() error {
	ctx := context.Background()
	c := config()
	out, err := os.Create(*console)
	if err != nil {
		return err
	}
	logger := logrus.New()
	logger.Out = os.Stderr
	cmd := firecracker.VMCommandBuilder{}.WithBin(*binary).WithSocketPath(c.SocketPath).
		AddArgs(args...).WithStdout(out).WithStderr(os.Stderr).Build(ctx)
	opts := []firecracker.Opt{firecracker.WithProcessRunner(cmd), firecracker.WithLogger(logrus.NewEntry(logger))}
	if *load != "" {
		files := strings.Split(*load, ",")
		opts = append(opts, firecracker.WithSnapshot(files[0], files[1],
			func(s *firecracker.SnapshotConfig) { s.ResumeVM = *resume }))
		c.VsockDevices = nil
	}
	m, err := firecracker.NewMachine(ctx, c, opts...)
	if err != nil {
		return err
	}
	if *load == "" {
		m.Handlers.FcInit = m.Handlers.FcInit.AppendAfter(firecracker.CreateMachineHandlerName,
			firecracker.NewCreateBalloonHandler(0, false, 1))
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		text, err := do(ctx, m, strings.Fields(lines.Text()))
		if err != nil {
			fmt.Println("error", strings.Join(strings.Fields(err.Error()), " "))
		} else {
			fmt.Println("ok", text)
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}
