// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"os"
	"testing"

	"github.com/weirlb/weir/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		serve()
		return
	}
	testenv.Main(m)
}
