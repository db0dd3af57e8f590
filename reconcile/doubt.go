// SPDX-License-Identifier: Apache-2.0

package reconcile

import "github.com/weirlb/weir/maps"

// doubt marks in the current model what a plan that failed may have written of
// the next one, so that the next plan writes or removes it whatever it finds:
// that plan may be for another state than the one that failed.
func (r *Reconciler) doubt(next model) {
	r.doubtful = true
	for key, row := range next.services {
		was, ok := r.current.services[key]
		if !ok {
			was, was.table = row, maps.Table{} // its slots are free again
		}
		was.published = was.published || row.published
		was.doubt = true
		r.current.services[key] = was
	}
	for key, row := range next.backends {
		was, ok := r.current.backends[key]
		if !ok {
			was = row
		}
		was.doubt = true
		r.current.backends[key] = was
	}
	for a, row := range next.hops {
		was, ok := r.current.hops[a]
		if !ok {
			was = row
		}
		was.doubt = true
		r.current.hops[a] = was
	}
	for a, row := range next.roles {
		was := r.current.roles[a]
		r.current.roles[a] = role{was.vip || row.vip, was.backend || row.backend, true}
	}
	for row := range r.current.allowed {
		r.current.allowed[row] = r.current.allowed[row] && next.allowed[row]
	}
	for row := range next.allowed {
		if _, ok := r.current.allowed[row]; !ok {
			r.current.allowed[row] = false // there, perhaps
		}
	}
}
