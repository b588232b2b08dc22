package policy

// kids is a persistent set of trie nodes by their literal segments: a list of a few, or a
// table of kids by the next bits of the hash. A look-up reads one cache line for each level,
// one of the list and the node itself. The zero value is empty.
type kids[E any] struct {
	few []kid[E]     // does not change
	sub *kidTable[E] // nil if there are few
}

const (
	kidBits = 4 // of the hash, for each level
	// mostKids is how many nodes a list may have, and fewestKids how many a table may have
	// before it becomes a list again.
	mostKids, fewestKids = 16, 8
)

type kidTable[E any] struct {
	kids [1 << kidBits]kids[E]
	own  *token
}

type kid[E any] struct {
	hash uint64 // of the node's segment
	node *trieNode[E]
}

// find returns the node of the segment, nil if there is none.
func (s *kids[E]) find(segment string) *trieNode[E] {
	if len(s.few) == 1 { // no hash is needed
		if node := s.few[0].node; node.segment == segment {
			return node
		}
		return nil
	}
	if s.sub == nil && len(s.few) == 0 {
		return nil
	}
	return s.get(hashSegment(segment), segment)
}

// get is find with the hash of the segment.
func (s *kids[E]) get(hash uint64, segment string) *trieNode[E] {
	for rest := hash; s.sub != nil; rest >>= kidBits {
		s = &s.sub.kids[rest&(1<<kidBits-1)]
	}
	at := -1
	for i := range s.few { // without a branch that depends on the segment
		if s.few[i].hash == hash {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	if node := s.few[at].node; sameSegment(node.segment, segment) {
		return node
	}
	return s.among(hash, segment)
}

// among is get for segments whose hash several nodes may have.
func (s *kids[E]) among(hash uint64, segment string) *trieNode[E] {
	for i := range s.few {
		if k := &s.few[i]; k.hash == hash && sameSegment(k.node.segment, segment) {
			return k.node
		}
	}
	return nil
}

// with returns the set with the node of a segment replaced, nil to remove it. level is how
// many bits of the hash led here.
func (s kids[E]) with(own *token, hash uint64, level int, segment string, node *trieNode[E]) kids[E] {
	if s.sub == nil {
		s.few = s.list(hash, segment, node)
		if len(s.few) <= mostKids || level >= 64 {
			return s
		}
		return s.split(own, level)
	}
	if s.sub.own != own {
		s.sub = &kidTable[E]{kids: s.sub.kids, own: own}
	}
	k := &s.sub.kids[(hash>>level)&(1<<kidBits-1)]
	*k = k.with(own, hash, level+kidBits, segment, node)
	if node == nil {
		return s.joined()
	}
	return s
}

// list returns a list with the node of a segment replaced.
func (s *kids[E]) list(hash uint64, segment string, node *trieNode[E]) []kid[E] {
	list := make([]kid[E], 0, len(s.few)+1)
	for _, k := range s.few {
		if k.hash == hash && sameSegment(k.node.segment, segment) {
			if node == nil {
				continue
			}
			k.node, node = node, nil
		}
		list = append(list, k)
	}
	if node != nil {
		list = append(list, kid[E]{hash, node})
	}
	return list[:len(list):len(list)]
}

// split makes a table of a list.
func (s *kids[E]) split(own *token, level int) kids[E] {
	table := kids[E]{sub: &kidTable[E]{own: own}}
	for _, k := range s.few {
		table = table.with(own, k.hash, level, k.node.segment, k.node)
	}
	return table
}

// joined makes a list of a table of few nodes.
func (s *kids[E]) joined() kids[E] {
	n := 0
	for i := range s.sub.kids {
		k := &s.sub.kids[i]
		if n += len(k.few); k.sub != nil || n > fewestKids {
			return *s
		}
	}
	list := make([]kid[E], 0, n)
	for i := range s.sub.kids {
		list = append(list, s.sub.kids[i].few...)
	}
	return kids[E]{few: list}
}
