"""`python -m deployments.cli` is `longtake`, where the script is not on the path."""

from deployments.cli.main import main

raise SystemExit(main())
