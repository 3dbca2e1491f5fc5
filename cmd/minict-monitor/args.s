// This file lets functions have no body, for go:linkname.
