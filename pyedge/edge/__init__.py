"""The device's side: images, knowledge and learning with numpy alone, never torch."""
