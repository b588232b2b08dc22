package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/store"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func restoreCommand() *cobra.Command {
	var data string
	var force bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a store of a backup, for a server to start on", Args: cli.Needs("FILE"),
		Long: `Make a store of a backup. All of the file is read and checked before anything is
touched. The folder has to be empty; with --force a store in it that no server uses is
moved aside. The restored store has an identity of its own, so that a revision that was
seen elsewhere is not mistaken for one of this store.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			v, aside, err := journal.Restore(cmd.Context(), data, file, force, journal.Options{})
			if errors.Is(err, journal.ErrNotEmpty) {
				return cli.Hint(err, "--force moves aside what is there")
			}
			if err != nil {
				return store.Hint(err)
			}
			if aside != "" {
				fmt.Fprintln(cmd.OutOrStdout(), "moved the store that was there to", aside)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored revision %d as store %s in %s\n", v.Revision, v.StoreID, data)
			return err
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().BoolVar(&force, "force", false, "move a store aside that is there")
	return cmd
}

func dataFlag(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", config.DefaultData, "`folder` of the store")
}

func storeCommand() *cobra.Command {
	return cli.Group(&cobra.Command{Use: "store", Short: "Look at a store that no server uses"}, storeCheckCommand(), storeAcceptCommand())
}

func storeCheckCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "check", Short: "Read a whole store and say whether it is as it was written", Args: cobra.NoArgs,
		Long: `Read a whole store, without writing to it: its files, the chain of its log, and its
state. No server may use it meanwhile; interlock log verify asks a running one. Exit status
1 means that it is damaged, or that acknowledged changes are gone.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := journal.Check(cmd.Context(), data, journal.Options{Logger: slog.New(slog.DiscardHandler)})
			if errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrLost) || errors.Is(err, journal.ErrStoreID) {
				return cli.Answer(cmd.OutOrStdout(), false, err.Error())
			}
			if err != nil {
				return store.Hint(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), sayVerified(&client.Verification{
				StoreID: v.StoreID, Revision: v.Revision, Hash: v.Hash, Oldest: v.Oldest, Entries: v.Entries, Principals: v.Principals,
			}))
			return err
		},
	}
	dataFlag(cmd, &data)
	return cmd
}

func storeAcceptCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "accept-loss", Short: "Take a store although acknowledged changes are gone", Args: cobra.NoArgs,
		Long: `Take a store as it is, although acknowledged changes are gone, if nothing else is wrong
with it: for when there is no backup. It gets a new identity. What the lost changes took
away is granted again: look at the policy before a server starts on it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := journal.AcceptLoss(cmd.Context(), data, journal.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return store.Hint(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the store in %s begins anew at revision %d, as store %s\n", data, v.Revision, v.StoreID)
			return err
		},
	}
	dataFlag(cmd, &data)
	return cmd
}
