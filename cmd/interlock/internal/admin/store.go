package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/store"
	"github.com/interlock-authz/interlock/cmd/internal/cli"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// openableStore describes a store that a server can open now.
type openableStore struct {
	Data     string `json:"data"`
	StoreID  string `json:"storeId"`
	Revision uint64 `json:"revision"`
	// Replaced is the folder to which the previous store was moved, empty if there was none.
	Replaced string `json:"replaced,omitzero"`
}

func restoreCommand() *cobra.Command {
	var data string
	var force bool
	var o cli.Output
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a store from a backup", Args: cli.Needs("FILE"),
		Long: `Make a store from a backup, for a server to open. The command reads and checks the whole
file before it changes the folder. The folder must be empty; with --force the command
moves an unused store in it aside. The restored store has a new store ID, because its
next revision is not the one that followed in the original.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			restored, err := restore(cmd.Context(), args[0], data, force)
			if err != nil {
				return err
			}
			text := fmt.Sprintf("restored revision %d as store %s in %s", restored.Revision, restored.StoreID, data)
			if restored.Replaced != "" {
				text = fmt.Sprintf("moved the previous store to %s\n%s", restored.Replaced, text)
			}
			return o.Answer(cmd.OutOrStdout(), true, restored, text)
		},
	}
	dataFlag(cmd, &data)
	o.AddFlag(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "move an existing store aside")
	return cmd
}

func restore(ctx context.Context, path, data string, force bool) (*openableStore, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	v, aside, err := journal.Restore(ctx, data, file, force, journal.Options{})
	if errors.Is(err, journal.ErrNotEmpty) {
		return nil, cli.Hint(err, "--force moves the existing store aside")
	}
	if err != nil {
		return nil, store.Hint(err)
	}
	return &openableStore{Data: data, StoreID: v.StoreID, Revision: v.Revision, Replaced: aside}, nil
}

func dataFlag(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", config.DefaultData, "`folder` of the store")
}

func storeCommand() *cobra.Command {
	return cli.Group(&cobra.Command{Use: "store", Short: "Check or repair a store that no server uses"}, storeCheckCommand(), storeAcceptCommand(), storeUnrevokeCommand())
}

func storeCheckCommand() *cobra.Command {
	var data string
	var o cli.Output
	cmd := &cobra.Command{
		Use: "check", Short: "Read a whole store and report damage and loss", Args: cobra.NoArgs,
		Long: `Read a whole store, without writing to it: its files, the chain of its log, and its
state. No server may use the store meanwhile; interlock log verify checks the store of a
running server. Exit status 1 means that the store is damaged, or that acknowledged
changes are lost.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := journal.Check(cmd.Context(), data, journal.Options{Logger: slog.New(slog.DiscardHandler)})
			if errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrLost) || errors.Is(err, journal.ErrStoreID) {
				return o.Answer(cmd.OutOrStdout(), false, &client.Verification{Damage: err.Error()}, err.Error())
			}
			if err != nil {
				return store.Hint(err)
			}
			verified := &client.Verification{
				StoreID: v.StoreID, Revision: v.Revision, Hash: v.Hash, Oldest: v.Oldest, Entries: v.Entries, Principals: v.Principals,
			}
			return o.Answer(cmd.OutOrStdout(), true, verified, sayVerified(verified))
		},
	}
	dataFlag(cmd, &data)
	o.AddFlag(cmd)
	return cmd
}

func storeAcceptCommand() *cobra.Command {
	var data string
	var o cli.Output
	cmd := &cobra.Command{
		Use: "accept-loss", Short: "Make a store usable although acknowledged changes are lost", Args: cobra.NoArgs,
		Long: `Make a store usable although acknowledged changes are lost. Use it only without a
backup. The store must not be damaged otherwise. It gets a new store ID. What the lost
changes revoked is granted again: check the policy before a server opens the store.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := journal.AcceptLoss(cmd.Context(), data, journal.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return store.Hint(err)
			}
			accepted := &openableStore{Data: data, StoreID: v.StoreID, Revision: v.Revision}
			return o.Answer(cmd.OutOrStdout(), true, accepted,
				fmt.Sprintf("accepted revision %d as store %s in %s", v.Revision, v.StoreID, data))
		},
	}
	dataFlag(cmd, &data)
	o.AddFlag(cmd)
	return cmd
}

// unrevoked says that a store accepts a certificate again.
type unrevoked struct {
	Data        string `json:"data"`
	Certificate string `json:"certificate"`
	Revision    uint64 `json:"revision"`
}

func storeUnrevokeCommand() *cobra.Command {
	var data, reason string
	var o cli.Output
	cmd := &cobra.Command{
		Use: "unrevoke CERTIFICATE", Short: "Take the revocation of a certificate back", Args: cli.Needs("CERTIFICATE"),
		Long: `Take the revocation of a certificate back, in a store that no server uses: the way back
if a revoked CA locked every administrator out. The certificate is a file, its SHA-256,
or serial@issuer, as it was revoked. The change is an entry of the log like any other,
by the server itself. A certificate that is in a CRL stays revoked.`,
		Example: "  interlock store unrevoke .interlock/ca.crt --reason 'the wrong CA was revoked'",
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := unrevoke(cmd.Context(), data, args[0], reason)
			if err != nil {
				return err
			}
			return o.Answer(cmd.OutOrStdout(), true, done, fmt.Sprintf("certificate %s is no longer revoked, at revision %d of %s", done.Certificate, done.Revision, data))
		},
	}
	dataFlag(cmd, &data)
	o.AddFlag(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "reason, for the log")
	return cmd
}

func unrevoke(ctx context.Context, data, certificate, reason string) (*unrevoked, error) {
	spec := policy.ChangeSpec{Op: policy.OpUnrevokeCertificate, Reason: reason}
	if err := nameCertificate(&spec, certificate); err != nil {
		return nil, err
	}
	change, err := spec.Change()
	if err != nil {
		return nil, err
	}
	revision, err := store.Unrevoke(ctx, data, change)
	if err != nil {
		return nil, err
	}
	return &unrevoked{Data: data, Certificate: change.Certificate.String(), Revision: revision}, nil
}
