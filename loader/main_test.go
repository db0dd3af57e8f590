// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"testing"

	"github.com/weirlb/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
