package args

import "nopal/internal/image"

// fromSignature makes fields of the parameters and the result of a function.
func fromSignature(*image.Signature) (entry, exit []field) { return nil, nil }
