// SPDX-License-Identifier: Apache-2.0

package healthd

import (
	"container/heap"
	"slices"
	"time"
)

// queue holds the targets by the time of their next check.
type queue []due

type due struct {
	at    time.Time
	state *state
}

func (q *queue) push(s *state, at time.Time) { heap.Push((*ordered)(q), due{at, s}) }
func (q *queue) pop() *state                 { return heap.Pop((*ordered)(q)).(due).state }

// sweep forgets removed targets, which would otherwise stay for an interval.
func (q *queue) sweep() {
	*q = slices.DeleteFunc(*q, func(d due) bool { return d.state.gone })
	heap.Init((*ordered)(q))
}

// ordered is queue as container/heap wants it.
type ordered queue

func (o ordered) Len() int           { return len(o) }
func (o ordered) Less(i, j int) bool { return o[i].at.Before(o[j].at) }
func (o ordered) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *ordered) Push(x any)        { *o = append(*o, x.(due)) }
func (o *ordered) Pop() any {
	last := (*o)[len(*o)-1]
	*o = (*o)[:len(*o)-1]
	return last
}
