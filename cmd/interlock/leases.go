package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
)

func leasesCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use: "leases [PRINCIPAL]", Short: "List the operations in flight", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			path := "/v1/leases"
			if len(args) == 1 {
				path += "?" + url.Values{"principal": args}.Encode()
			}
			answer, err := client.Call(cmd.Context(), http.MethodGet, path, nil, nil)
			if err != nil {
				return hintFailure(err)
			}
			var list struct {
				Leases []runningLease `json:"leases"`
			}
			if err := json.Unmarshal(answer.Body, &list); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for i := range list.Leases {
				l := &list.Leases[i]
				state := ""
				if l.Revoked != 0 {
					state = fmt.Sprintf(", revoked at %d", l.Revoked)
				}
				fmt.Fprintf(out, "%v, since %s%s\n", l, l.Since.Local().Format(time.TimeOnly), state)
			}
			fmt.Fprintf(out, "%d in flight\n", len(list.Leases))
			return nil
		},
	}
	c.adminFlags(cmd)
	return cmd
}
