package socketio

import (
	"bytes"
	"unicode/utf8"
)

// CheckPlaceholders checks that data, the JSON text of a binary packet, can be put together with n attachments: the num
// of each {"_placeholder":true,"num":i} is an integer from 0 to n-1, and none stands there twice. Stock senders never
// refer to one twice, and a receiver that copies (a MessagePack one does) could be made to write the same megabyte
// thousands of times. Attachments that nothing refers to are harmless and are let pass, as they are by stock parsers.
//
// Call it for n > 0, or for a type that is Binary: in other packets a placeholder is an ordinary object.
func CheckPlaceholders(data []byte, n int) error {
	o := newOutline(n)
	return o.of(data)
}

// CheckAllPlaced is CheckPlaceholders for a sender who means every attachment to arrive: each of them needs its
// placeholder.
func CheckAllPlaced(data []byte, n int) error {
	o := newOutline(n)
	if err := o.of(data); err != nil {
		return err
	}
	for num := range n {
		if *o.place(num)&(1<<(num%64)) == 0 {
			return malformed(`attachment %d has no placeholder, which is {"_placeholder":true,"num":%d}`, num, num)
		}
	}
	return nil
}

// outline is what a scanner finds out about a text besides that it is valid.
type outline struct {
	attachments int  // placeholders are checked against this number
	literal     bool // placeholders are ordinary objects, because nothing is attached

	// sizes, when keep is set, has for each array and object, in the order of their openings, the number of elements or
	// members, or placeholderFlag and the number of an attachment. What stands inside a placeholder is left out.
	keep  bool
	sizes []uint32

	seen     [4]uint64 // a bit for each attachment that has been referred to: enough for 256
	seenMore []uint64  // and for more
}

// placeholderFlag marks an entry of sizes. A text of 2 GiB or more could make a size look like one; JSONToMsgpack
// refuses such a text.
const placeholderFlag = 1 << 31

func newOutline(attachments int) outline {
	o := outline{attachments: attachments}
	if attachments > 64*len(o.seen) {
		o.seenMore = make([]uint64, (attachments+63)/64)
	}
	return o
}

// of finds out about data, and whether it is valid.
func (o *outline) of(data []byte) error {
	if !utf8.Valid(data) {
		return malformed("the JSON text is not valid UTF-8")
	}
	s := scanner{data: data, outline: o}
	return s.document()
}

func (o *outline) open() (mark int) {
	if o == nil || !o.keep {
		return 0
	}
	o.sizes = append(o.sizes, 0)
	return len(o.sizes) - 1
}

func (o *outline) closeArray(mark, n int) {
	if o != nil && o.keep {
		o.sizes[mark] = uint32(n)
	}
}

// closeObject takes the text of num when the object has the mark of a placeholder.
func (o *outline) closeObject(mark, n int, marked bool, text []byte) error {
	if o == nil {
		return nil
	}
	size := uint32(n)
	placed := marked && !o.literal
	if placed {
		num, err := o.refer(text)
		if err != nil {
			return err
		}
		size = placeholderFlag | uint32(num)
	}
	if o.keep {
		o.sizes[mark] = size
		if placed {
			o.sizes = o.sizes[:mark+1]
		}
	}
	return nil
}

// refer checks the num of a placeholder and notes that it was there.
func (o *outline) refer(text []byte) (int, error) {
	num := 0
	if len(text) == 0 || len(text) > 1 && text[0] == '0' {
		return 0, malformed("a placeholder's num is not a number in decimal digits")
	}
	for _, c := range text {
		if !isDigit(c) {
			return 0, malformed("a placeholder's num is not a number in decimal digits")
		}
		if num = num*10 + int(c-'0'); num >= o.attachments {
			return 0, malformed("a placeholder refers to an attachment beyond the %d that there are", o.attachments)
		}
	}
	seen := o.place(num)
	if *seen&(1<<(num%64)) != 0 {
		return 0, malformed("two placeholders refer to attachment %d", num)
	}
	*seen |= 1 << (num % 64)
	return num, nil
}

// place is where the bit of an attachment is kept.
func (o *outline) place(num int) *uint64 {
	if o.seenMore != nil {
		return &o.seenMore[num/64]
	}
	return &o.seen[num/64%len(o.seen)]
}

// placeholder collects from an object's members whether it is one. As in JavaScript the last of equal keys counts, and
// further keys do not matter. It has positions instead of a slice: a slice stored through a pointer would make the
// compiler move the scanner's outline to the heap.
type placeholder struct {
	marked   bool
	num, end int // where the text of num is; both 0 when it is absent
}

// keyIs compares the raw text between a key's quotes with a name of at most 12 bytes.
func keyIs(raw []byte, name string) bool {
	if len(raw) == len(name) {
		return string(raw) == name
	}
	// An escaped key is longer than what it means, six times at most.
	var buf [12 * 6]byte
	if len(raw) < len(name) || len(raw) > 6*len(name) || bytes.IndexByte(raw, '\\') < 0 {
		return false
	}
	return string(appendUnescaped(buf[:0], raw)) == name
}
