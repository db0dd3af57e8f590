// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"net/netip"

	"github.com/weirlb/weir/bpf"
)

// SetRole tells the program what an address is to it; neither forgets it. A
// hint is there before what it hints at, and goes after it.
func (t *Tables) SetRole(a netip.Addr, vip, backend bool) error {
	key := address(a)
	var before, now bpf.LBRole
	// An absent key reads as no role.
	_ = t.byName[bpf.LBMapRoles].Lookup(&key, &before)
	if vip {
		now |= bpf.LBRoleROLE_VIP
	}
	if backend {
		now |= bpf.LBRoleROLE_BACKEND
	}
	if err := t.hint(a, now&^before, 1); err != nil {
		return err
	}
	var err error
	if now == 0 {
		err = t.remove(bpf.LBMapRoles, &key)
	} else {
		err = t.put(bpf.LBMapRoles, &key, now)
	}
	if err != nil {
		return err
	}
	return t.hint(a, before&^now, -1)
}

// roleCount is how many addresses of a slot have each role.
type roleCount struct{ vips, backends int32 }

// hint counts an address in or out of its slot, and writes what the slot then
// hints at.
func (t *Tables) hint(a netip.Addr, roles bpf.LBRole, change int32) error {
	if roles == 0 {
		return nil
	}
	slot := bpf.RoleSlot(a)
	count := t.hinted[slot]
	if roles&bpf.LBRoleROLE_VIP != 0 {
		count.vips += change
	}
	if roles&bpf.LBRoleROLE_BACKEND != 0 {
		count.backends += change
	}
	t.hinted[slot] = count
	var bits bpf.LBRole
	if count.vips > 0 {
		bits |= bpf.LBRoleROLE_VIP
	}
	if count.backends > 0 {
		bits |= bpf.LBRoleROLE_BACKEND
	}
	var shared [1]byte
	at, shift := int64(slot/4), slot%4*2
	if _, err := t.hints.ReadAt(shared[:], at); err != nil {
		return fmt.Errorf("read map role_hints: %w", err)
	}
	shared[0] = shared[0]&^(3<<shift) | byte(bits)<<shift
	if _, err := t.hints.WriteAt(shared[:], at); err != nil {
		return fmt.Errorf("write map role_hints: %w", err)
	}
	return nil
}

// countHints counts the addresses that an earlier daemon gave roles.
func (t *Tables) countHints() error {
	var key bpf.LBAddr
	var roles bpf.LBRole
	var failed error
	err := each(t.byName[bpf.LBMapRoles], &key, &roles, func() {
		if failed == nil {
			failed = t.hint(addressOf(key), roles, 1)
		}
	})
	if err == nil {
		err = failed
	}
	return err
}
