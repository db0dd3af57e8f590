// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"

	"github.com/weirlb/weir/lb"
)

// Hooks decides which hook each interface gets. All must be one: packets of
// one hook cannot be redirected to an interface that has only another.
func Hooks(interfaces []lb.Interface, links map[string]Link) (map[string]lb.Attach, error) {
	asked, common := map[lb.Attach]string{}, lb.AttachAuto
	for _, i := range interfaces {
		if i.Attach == lb.AttachAuto {
			continue
		}
		asked[i.Attach] = i.Name
		common = i.Attach
	}
	if len(asked) > 1 {
		var errs []error
		for hook, name := range asked {
			errs = append(errs, fmt.Errorf("interface %s: attach %s cannot redirect to the others: give all interfaces one hook, or auto", name, hook))
		}
		return nil, errors.Join(errs...)
	}
	if common == lb.AttachAuto {
		common = lb.AttachXDP
		for _, i := range interfaces {
			// On a veth native XDP copies every packet and loses GSO.
			if links[i.Name].Kind == "veth" {
				common = lb.AttachTC
			}
		}
	}
	all := map[string]lb.Attach{}
	for _, i := range interfaces {
		all[i.Name] = common
	}
	return all, nil
}
