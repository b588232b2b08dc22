package results

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Plot is a line chart with two logarithmic axes. X has named ticks, so that 0 can come first.
type Plot struct {
	Title, X, Y string
	// Ticks are the values of X, in their order.
	Ticks []string
	Lines []Line
}

// Line is a series of values at the ticks. NaN marks a missing value.
type Line struct {
	Name   string
	Values []float64
	// Dashed marks a series that does not keep every promise.
	Dashed bool
}

// Save writes the plot as SVG, with a caption below.
func (p *Plot) Save(folder, name, caption string) error {
	canvas, err := p.draw(caption)
	if err != nil {
		return fmt.Errorf("plot %s: %w", name, err)
	}
	return replace(filepath.Join(folder, name+".svg"), func(w io.Writer) error { _, err := canvas.WriteTo(w); return err })
}

// palette is that of Okabe and Ito, which color-blind readers can distinguish, and two greys.
var palette = []color.Color{
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff},
	color.RGBA{0x56, 0xb4, 0xe9, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff}, color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	color.RGBA{0x80, 0x60, 0x90, 0xff}, color.RGBA{0x60, 0x60, 0x60, 0xff}, color.RGBA{0xa0, 0xa0, 0xa0, 0xff},
}

func (p *Plot) draw(caption string) (*vgsvg.Canvas, error) {
	const width, height = 24 * vg.Centimeter, 14 * vg.Centimeter
	d := plot.New()
	for _, f := range []*font.Font{
		&d.Title.TextStyle.Font, &d.X.Label.TextStyle.Font, &d.Y.Label.TextStyle.Font,
		&d.X.Tick.Label.Font, &d.Y.Tick.Label.Font, &d.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	d.Title.Text, d.X.Label.Text, d.Y.Label.Text = p.Title, p.X, p.Y
	d.Y.Scale, d.Y.Tick.Marker = plot.LogScale{}, decades{}
	d.Add(plotter.NewGrid())
	d.Legend.Top, d.Legend.Left = true, false
	d.Legend.XOffs, d.Legend.ThumbnailWidth, d.Legend.Padding = 5.2*vg.Centimeter, vg.Centimeter, vg.Points(3)
	d.NominalX(p.Ticks...)
	for i, l := range p.Lines {
		var points plotter.XYs
		for x, y := range l.Values {
			if !math.IsNaN(y) && y > 0 {
				points = append(points, plotter.XY{X: float64(x), Y: y})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color, dots.Shape = palette[i%len(palette)], palette[i%len(palette)], plotutil.Shape(i)
		line.Width = vg.Points(1.5)
		if l.Dashed {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		d.Add(line, dots)
		d.Legend.Add(l.Name, line, dots)
	}
	canvas := vgsvg.New(width, height)
	area := draw.New(canvas)
	area.SetColor(color.White) // for readers whose pages are dark
	area.Fill(area.Path())
	below := 0.6 * vg.Centimeter
	d.Draw(draw.Crop(area, 0.2*vg.Centimeter, -5.4*vg.Centimeter, below, -0.2*vg.Centimeter))
	style := d.X.Tick.Label
	style.Font = font.From(style.Font, vg.Points(7))
	style.XAlign, style.YAlign = draw.XLeft, draw.YBottom
	area.FillText(style, vg.Point{X: 0.3 * vg.Centimeter, Y: 0.2 * vg.Centimeter}, strings.ReplaceAll(caption, "`", ""))
	return canvas, nil
}

// decades labels the powers of ten, and draws unlabeled ticks between them.
type decades struct{}

// Ticks implements [plot.Ticker].
func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for step := range 9 {
			v := math.Pow(10, power) * float64(step+1)
			if v < low || v > high {
				continue
			}
			label := ""
			if step == 0 || high/low < 30 && (step == 1 || step == 4) {
				label = strings.TrimSpace(inPrefix(v, []string{"", "k", "M", "G"}))
				if v < 1 {
					label = fmt.Sprintf("%g", v)
				}
			}
			ticks = append(ticks, plot.Tick{Value: v, Label: label})
		}
	}
	return ticks
}
