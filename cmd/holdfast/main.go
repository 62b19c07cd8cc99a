// Command holdfast holds Socket.IO connections and lets backends talk to them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"holdfast/internal/boot"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// cli is the command line.
type cli struct {
	Dev     devCommand     `cmd:"" help:"Run everything in this one process, on memory: to try it, and to develop against."`
	Gateway gatewayCommand `cmd:"" help:"Run ws-gateway: it holds the clients' connections."`
	API     apiCommand     `cmd:"" name:"api" help:"Run ws-api: it routes events and serves the backends."`
	Push    pushCommand    `cmd:"" help:"Send an event to clients."`
	Tail    tailCommand    `cmd:"" help:"Show the events of clients as they come."`
	Token   tokenCommand   `cmd:"" help:"Make a token with which a client may connect."`
	Bench   benchCommand   `cmd:"" help:"Put load on a server, and measure it."`
	Doctor  doctorCommand  `cmd:"" help:"Check the configuration and what it refers to."`
	Version versionCommand `cmd:"" help:"Say which version this is."`
}

// world is what a command may touch outside itself.
type world struct {
	ctx            context.Context //nolint:containedctx // handed from run to the command that it runs
	args, env      []string
	stdout, stderr io.Writer
}

// run is the program: args without its name; it returns the exit code (2: the
// command line or the configuration is wrong).
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("holdfast"),
		kong.Description("A gateway for Socket.IO connections. `holdfast dev` is the way to begin."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "holdfast:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exit >= 0 {
		return exit // help was asked for
	}
	if err != nil {
		fmt.Fprintf(stderr, "holdfast: %v\n%s\n", err, whatToTry(err, args))
		return 2
	}
	err = k.Run(&world{ctx: ctx, args: args, env: env, stdout: stdout, stderr: stderr})
	var invalid *boot.InvalidError
	var stopped boot.SignalError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &stopped):
		fmt.Fprintln(stderr, "holdfast:", err)
		if n, ok := stopped.Signal.(syscall.Signal); ok {
			return 128 + int(n) // as a shell reports it
		}
		return 1
	case errors.As(err, &invalid), errors.As(err, new(usageError)):
		fmt.Fprintln(stderr, "holdfast:", err)
		return 2
	}
	fmt.Fprintln(stderr, "holdfast:", err)
	return 1
}

// usageError says what is wrong with a command line that the parser had taken.
type usageError struct{ error }

// whatToTry is what to do about a command line that cannot be read.
func whatToTry(err error, args []string) string {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context.Selected() == nil {
		return "Try `holdfast --help`."
	}
	command := parse.Context.Selected().Name
	for _, arg := range args {
		if _, err := strconv.ParseFloat(arg, 64); err == nil && command == "push" && strings.HasPrefix(arg, "-") {
			return "The event's arguments stand after -- when one of them is a negative number: -- " + arg
		}
	}
	return "Try `holdfast " + command + " --help`."
}

type versionCommand struct{}

// Run prints the version.
func (*versionCommand) Run(w *world) error {
	_, err := fmt.Fprintln(w.stdout, version())
	return err
}

// version is the module's version, or the revision that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
