package main

import (
	"github.com/spf13/cobra"

	"minict/container"
)

func (a *app) execCommand() *cobra.Command {
	var o container.ExecOptions
	var detach bool
	var envFiles []string
	var detachKeys string
	cmd := &cobra.Command{
		Use:   "exec [flags] CONTAINER [--] COMMAND [ARG...]",
		Short: "Run one more command in a running container",
		Example: "  minict exec web -- ps\n" +
			"  minict exec -it web sh",
		Args: needs(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Args = withoutDashes(args[1:])
			var env []string
			for _, path := range envFiles {
				list, err := container.ReadEnvFile(path, nil)
				if err != nil {
					return err
				}
				env = append(env, list...)
			}
			o.Env = append(env, o.Env...)
			if !detach {
				var err error
				if o.Streams, err = a.foreground(o.OpenStdin, o.TTY, detachKeys); err != nil {
					return err
				}
			}
			ended, err := a.manager().Exec(cmd.Context(), args[0], &o)
			if err != nil {
				return err
			}
			a.swept = true
			return outcome(ended)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.OpenStdin, "interactive", "i", false, "keep stdin open")
	f.BoolVarP(&o.TTY, "tty", "t", false, "give it a terminal")
	f.BoolVarP(&detach, "detach", "d", false, "leave it running in the background")
	f.VarP((*values)(&o.Env), "env", "e", envUsage)
	f.Var((*values)(&envFiles), "env-file", envFileUsage)
	f.StringVarP(&o.User, "user", "u", "", "`user[:group]` (default: the container's)")
	f.StringVarP(&o.WorkDir, "workdir", "w", "", "`directory` in which it begins")
	f.BoolVar(&o.Privileged, "privileged", false, "with all capabilities and no filter")
	f.StringVar(&detachKeys, "detach-keys", "", detachKeysUsage)
	return cmd
}
