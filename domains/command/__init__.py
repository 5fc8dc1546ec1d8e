"""What the `separable` command does beside the verbs of the domains: settings files, costs, completion, folders."""
