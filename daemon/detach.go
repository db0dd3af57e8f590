// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"net"

	"github.com/weirlb/weir/loader"
	"github.com/weirlb/weir/netdev"
)

// Detach takes off what a daemon, running or not, left on the router: programs
// and pins, and the VIPs that it added. Health and drains are kept.
func Detach(bpffs, state string) error {
	errs := []error{loader.Detach(bpffs)}
	s, err := readSaved(state)
	errs = append(errs, err)
	if len(s.VIPs) == 0 {
		return errors.Join(errs...)
	}
	router, err := netdev.Open()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer router.Close()
	for _, v := range s.VIPs {
		// An interface that has gone took the VIP with it.
		if i, err := net.InterfaceByName(v.Interface); err == nil {
			errs = append(errs, router.RemoveVIP(i.Index, v.Address))
		}
	}
	s.VIPs = nil
	return errors.Join(append(errs, s.write(state))...)
}
