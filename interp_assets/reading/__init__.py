"""The only readers of tables that earlier assets wrote: each returns the domain's own types."""
