"""The same job by other means, as somebody who knows them would write it."""
